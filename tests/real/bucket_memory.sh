#!/usr/bin/env bash
# 20 GiB in one file, 10,000 small files, and a sealed file go to a bucket; none of them takes more memory than the others.
. "$(dirname "$0")/_common.sh"
run_script bucket_memory
