"""RandAugment-T in a DALI pipeline of your own: video files in, augmented clips out.

    python examples/own_pipeline.py FOLDER

FOLDER holds <class>/<file>. It needs DALI 2 for its video decoder. With a GPU, DALI decodes H.264, HEVC, MPEG-4, VP9
and AV1 on it; without one it decodes VP8 and VP9 alone. The rest of the graph is the same on both.
"""

import sys

import torch
from nvidia.dali import fn, pipeline_def, types

from dali_pipes import rand_augment_t

FRAMES, SIDE_PX = 32, 112
VIDEOS = ["*.mp4", "*.avi", "*.mkv", "*.webm"]


@pipeline_def(enable_conditionals=True)  # rand_augment_t needs conditionals
def clips(folder, decoder):
    encoded, label = fn.readers.file(file_root=folder, file_filters=VIDEOS, random_shuffle=True, name="reader")
    video = fn.decoders.video(encoded, device=decoder, sequence_length=FRAMES, pad_mode="edge")
    video = fn.resize(video, size=[SIDE_PX, SIDE_PX])
    video = rand_augment_t(video, num_frames=FRAMES, n=2, m=10, schedule="temporal+", translate_max_px=70)
    video = fn.crop_mirror_normalize(video, dtype=types.FLOAT, output_layout="CFHW", mean=[128.0] * 3, std=[128.0] * 3)
    return video, label


def main(folder):
    has_gpu = torch.cuda.is_available()
    pipeline = clips(
        folder,
        decoder="mixed" if has_gpu else "cpu",
        batch_size=4,
        num_threads=2,
        device_id=0 if has_gpu else None,
        seed=1,
    )
    pipeline.build()
    for _ in range(2):
        video, label = pipeline.run()
        print(video.as_cpu().as_tensor().shape(), label.as_cpu().as_array().ravel().tolist())


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(sys.argv[1])
