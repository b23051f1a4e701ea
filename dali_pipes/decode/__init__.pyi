from .frames import decode_frames as decode_frames
from .video_file import TIME_LIMIT_S as TIME_LIMIT_S
