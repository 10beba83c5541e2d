"""streamderain from Python: frames as arrays, and a whole file. Writes frame.png and dry.mp4 where it is run."""
from itertools import islice
from pathlib import Path

import av
from PIL import Image

from streamderain import Derainer, derain_video

CLIP = Path(__file__).with_name("rain.mp4")

if __name__ == "__main__":
    derainer = Derainer(profile="auto", device="auto")  # loads the weights once
    with av.open(str(CLIP)) as clip:
        for picture in islice(clip.decode(video=0), 10):
            rainy = picture.to_ndarray(format="rgb24")  # (H, W, 3) uint8 RGB
            dry = derainer(rainy)  # the same shape; remembers the frames before, so give them in order
    Image.fromarray(dry).save("frame.png")
    derainer.reset()  # the next frame belongs to another stream

    report = derain_video(CLIP, "dry.mp4", profile="auto", overwrite=True)
    print(f"{report['frames_out']} frames, {report['fps']} fps, {report['profile']} on {report['device']}")
