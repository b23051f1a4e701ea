from .sheets import SheetRow as SheetRow
from .sheets import check_sheet_options as check_sheet_options
from .sheets import draw_sheet as draw_sheet
from .sheets import load_clip as load_clip
from .sheets import write_picture as write_picture
from .sheets import write_sheet as write_sheet
