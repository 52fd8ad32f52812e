FROM alpine
BANANA make
