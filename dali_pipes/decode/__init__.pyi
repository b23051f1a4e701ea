from .frames import decode_frames as decode_frames
from .video_file import MOST_S as MOST_S
from .video_file import TIME_LIMIT_S as TIME_LIMIT_S
