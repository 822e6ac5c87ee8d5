"""The colours and the light of synthetic cameras, in plain numbers that any program can read.

Source: Brooks et al., "Unprocessing Images for Learned Raw Denoising", CVPR 2019
(arXiv 1811.11127).
"""

# XYZ -> camera RGB of four cameras; a random camera is a random mixture of them.
XYZ_TO_CAMERAS = (
    ((1.0234, -0.2969, -0.2266), (-0.5625, 1.6328, -0.0469), (-0.0703, 0.2188, 0.6406)),
    ((0.4913, -0.0541, -0.0202), (-0.6130, 1.3513, 0.2906), (-0.1564, 0.2151, 0.7183)),
    ((0.8380, -0.2630, -0.0639), (-0.2887, 1.0725, 0.2496), (-0.0627, 0.1427, 0.5438)),
    ((0.6596, -0.2079, -0.0562), (-0.4782, 1.3016, 0.1933), (-0.0970, 0.1581, 0.5181)),
)
RGB_TO_XYZ = (
    (0.4124564, 0.3575761, 0.1804375),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339, 0.1191920, 0.9503041),
)
DIMMING_MEAN, DIMMING_STDDEV = 0.8, 0.1  # of the factor from picture to sensor brightness
RED_GAIN, BLUE_GAIN = (1.9, 2.4), (1.5, 1.9)  # white balance relative to green, uniform
INFLECTION = 0.9  # above this grey level the inverse gains fade to 1, so that white stays white
GAMMA = 2.2
