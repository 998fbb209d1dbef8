"""Detectors of faces and people: they fill a record's boxes and masks where the source has none.

None reaches for the network: weights ship with an installed package or are the user's file.
"""

from tfrecord_tools.detectors import centerface, selfie, yolo

DETECTORS = {
    "centerface": centerface.DETECTOR,
    "selfie": selfie.DETECTOR,
    "keras_cv": yolo.DETECTOR,
}
