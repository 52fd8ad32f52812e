# syntax=docker/dockerfile:1
# Escape = \
# check=skip=JSONArgsRecommended;error=false
FROM alpine
CMD echo hi
ENTRYPOINT echo
