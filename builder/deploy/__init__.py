"""Deploy a finished zip to OpenWhisk: `build_zip.py deploy` and `build_zip.py undeploy`.

`credentials` finds the host and the key, and `rest_api` sends it requests. `python_kinds` chooses
the kind, `action_document` describes the action, `verify` invokes it and compares its answer.
`deployment` leads through these.
"""
