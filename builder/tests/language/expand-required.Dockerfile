FROM alpine
LABEL a=${nope:?give-it}
