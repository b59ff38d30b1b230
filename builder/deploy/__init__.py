"""Deploy a finished zip to OpenWhisk: `build_zip.py deploy` and `build_zip.py undeploy`.

`credentials` finds the host and the key, `openwhisk` speaks the platform's REST API, `upload` puts
the zip there, `verify` invokes it and compares its answer; `platform` leads through these.
"""
