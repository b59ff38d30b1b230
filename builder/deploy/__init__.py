"""From a finished zip to an address: `build_zip.py --deploy` and `--undeploy`.

`credentials` finds out whom to talk to, `openwhisk` speaks the platform's REST API, `action` puts
the zip there, invokes it and compares; `digitalocean` does the same by that platform's own tool.
"""
