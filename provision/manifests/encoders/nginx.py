"""Values as nginx reads them.

nginx 1.22, ngx_conf_read_token: between double quotes a backslash stands before `"`, `\\`, `t`, `r` and `n`, and one
parameter fits into the buffer that the file is read through. Where a parameter may hold variables `$` starts one, and
nothing escapes it (ngx_http_script_compile); so a variable stands for it, which our templates define as `geo`.
"""

from __future__ import annotations

import re

from provision.errors import UnencodableValue
from provision.manifests.value import Value, check_process_string

DOLLAR = "${deploy_dollar}"
LONGEST = 4096 - 128  # NGX_CONF_BUFFER, less what else stands in the line

_UNQUOTED = re.compile(r"[A-Za-z0-9_*/\[][A-Za-z0-9._/:@*+\[\]-]*")
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n", "\r": r"\r", "\t": r"\t", "$": DOLLAR})


def nginx_string(value: Value) -> str:
    """One parameter that may hold variables and gives exactly `value`.

    Raises:
        UnencodableValue: it holds NUL, or is longer than nginx reads.
    """
    check_process_string(value.subject, value.text)
    text = value.text.translate(_ESCAPES)
    size = len(text.encode())
    if size > LONGEST:
        raise UnencodableValue(value.subject, f"it takes {size} bytes in nginx's file, which reads {LONGEST} at most")
    return text if _UNQUOTED.fullmatch(text) else f'"{text}"'
