"""The on-camera runtime: one choke point between a source of frames and a sink. Nothing here imports TensorFlow.

errors     what stops the camera, with its exit code
manifest   what an export folder holds, and whether it still holds it
judge      is a picture anonymized at all: not NaN, not constant, not the input in disguise
engine     the LiteRT interpreter and `CameraAnonymizer`, the one way for a frame to get out
sources    where frames come from
sinks      where anonymized frames go
pipeline   decode, anonymize, encode, each in a thread of its own
"""
