"""What a technician does about a frame that was refused, by reason; docs/site.md has the same words."""

from contract.messages import Reason

REMEDIES: dict[Reason, str] = {
    "unreadable": "copy the file again, or save it as a picture (PNG, JPEG, TIFF)",
    "incomplete": "check the camera's cable and its driver; copy a file again",
    "too_small": "let the camera send more of its field",
    "too_large": "let the camera send fewer pixels",
    "stale": "check the camera and its cable",
    "empty": "move to where there are cells",
    "out_of_focus": "focus again, and clean oil off a dry objective",
    "motion": "let the stage stop before a picture is taken, or expose for a shorter time",
    "overexposed": "expose for a shorter time, or dim the lamp",
    "underexposed": "expose for a longer time, or turn up the lamp",
    "uneven": "centre the lamp and the condenser, or calibrate a flat field",
    "noise": "give more light and less gain",
    "no_colour": "use a colour camera, and switch its colours on",
    "wrong_stain": "use a Romanowsky stain, and check the camera's white balance and its order of colours",
    "wrong_scale": "use the objective that `um_per_pixel` was measured with, or measure it again: "
    "`microscope-agent calibrate scale`",
}
