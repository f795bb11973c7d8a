#!/usr/bin/env bash
# The S3 servers that other tests use start, answer as they are said to, survive kills and leave nothing behind; the proxy
# in front of them counts what really went over the wire. LANDFALL_ONLY names servers; LANDFALL_BUILD_GARAGE=1 builds Garage.
exec python3 "$(dirname "$0")/s3_smoke.py"
