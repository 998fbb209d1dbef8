"""The on-camera runtime: one choke point between a source of frames and a sink. Nothing here imports TensorFlow.

errors     what stops the camera, with its exit code
manifest   what an export folder holds, and whether it still holds it
judge      is a picture anonymized at all: not NaN, not constant, not the input in disguise
engine     the LiteRT interpreter and `CameraAnonymizer`, the one way for a frame to get out
frames     what travels between the threads
sources    where frames come from: source_files, source_live, source_pattern
sinks      where anonymized frames go: sink_files, sink_push, whose sending is done by a process of its own, pusher
links      addresses, and the patience with a lost connection
pipeline   decode, anonymize, encode, each in a thread of its own; belts between them, pacing before them
stats      what a running camera tells of itself
"""
