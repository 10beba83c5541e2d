"""A real RTSP server for the live tests: gst-rtsp-server, run by the system's own Python, which has its binding.

    python3 tests/rtsp_server.py PORT SIZE [USER PASSWORD [KEY_EVERY SOUND]]

Prints the port when it listens; /cam is H.264 of 25 frames a second, a key frame each second, with PCMA
sound unless SOUND is "no".
"""
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

LAUNCH = (
    "( videotestsrc is-live=true pattern=ball ! video/x-raw,width={},height={},framerate=25/1 "
    "! x264enc tune=zerolatency speed-preset=ultrafast key-int-max={} "
    "! rtph264pay name=pay0 pt=96 config-interval=1 {} )"
)
SOUND = "audiotestsrc is-live=true ! alawenc ! rtppcmapay name=pay1 pt=97"


def main(port, size, user="", password="", key_every="25", sound="yes"):
    """Serve until killed."""
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(LAUNCH.format(*size.split("x"), key_every, "" if sound == "no" else SOUND))
    factory.set_shared(True)
    if user:
        guard = GstRtspServer.RTSPAuth()
        guard.set_supported_methods(2)  # digest
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "viewer")
        guard.add_digest(user, password, token)
        server.set_auth(guard)
        permissions = GstRtspServer.RTSPPermissions()
        permissions.add_permission_for_role("viewer", "media.factory.access", True)
        permissions.add_permission_for_role("viewer", "media.factory.construct", True)
        factory.set_permissions(permissions)
    server.get_mount_points().add_factory("/cam", factory)
    if not server.attach(None):
        sys.exit(f"port {port} is taken")
    print(server.get_bound_port(), flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main(*sys.argv[1:])
