"""Python runs this at its start where the folder is on PYTHONPATH: the watch of `tests/audit.py` in every process.

In: the environment of a test session. Out: the audit hook, installed. Found by Python itself, called by nobody.
"""

import importlib.util
import os
import sys

if os.environ.get("DANLU_AUDIT_LOG"):
    _path = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "audit.py")
    _spec = importlib.util.spec_from_file_location("tests.audit", _path)
    _audit = importlib.util.module_from_spec(_spec)
    sys.modules["tests.audit"] = _audit  # one watch a process: a test session finds this one
    _spec.loader.exec_module(_audit)
    _audit.install()
