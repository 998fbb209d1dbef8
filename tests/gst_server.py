"""GStreamer's RTSP server for the tests of the camera; run by the system's Python, whose GObject bindings it needs.

  python3 gst_server.py PORT USER PASSWORD FILE.mkv    prints "ready" when it listens

/live shows a test picture; what is pushed to /safe is kept in the file.
"""

import sys

import gi
gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

PICTURE = ("( videotestsrc is-live=true pattern=smpte ! video/x-raw,width=64,height=48,framerate=25/1 ! "
           "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=10 ! rtph264pay name=pay0 pt=96 )")


KEPT = "( rtph264depay name=depay0 ! h264parse ! matroskamux streamable=true ! filesink buffer-mode=unbuffered sync=false location={} )"


def main(port, user, password, file):
  Gst.init(None)
  server = GstRtspServer.RTSPServer(address="127.0.0.1", service=port)
  live = GstRtspServer.RTSPMediaFactory(launch=PICTURE, shared=True)
  safe = GstRtspServer.RTSPMediaFactory(launch=KEPT.format(file))
  safe.set_transport_mode(GstRtspServer.RTSPTransportMode.RECORD)
  safe.set_latency(500)  # milliseconds that it waits for late packets; its default outlasts a short stream
  permissions = GstRtspServer.RTSPPermissions()
  permissions.add_permission_for_role("viewer", "media.factory.access", True)
  permissions.add_permission_for_role("viewer", "media.factory.construct", True)
  auth = GstRtspServer.RTSPAuth()
  token = GstRtspServer.RTSPToken()
  token.set_string("media.factory.role", "viewer")
  auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
  server.set_auth(auth)
  for name, factory in (("/live", live), ("/safe", safe)):
    factory.set_permissions(permissions)
    server.get_mount_points().add_factory(name, factory)
  server.attach(None)
  print("ready", flush=True)
  GLib.MainLoop().run()


if __name__ == "__main__":
  main(*sys.argv[1:])
