from .magnitude import MAX_LEVEL as MAX_LEVEL
from .magnitude import SCHEDULES as SCHEDULES
from .magnitude import schedule_levels as schedule_levels
from .sampling import CROP_MODES as CROP_MODES
from .sampling import CROPS_PER_VIDEO as CROPS_PER_VIDEO
from .sampling import SHORT_VIDEOS as SHORT_VIDEOS
from .sampling import ClipPlan as ClipPlan
from .sampling import ClipSampler as ClipSampler
