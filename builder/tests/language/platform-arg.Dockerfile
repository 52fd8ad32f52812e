ARG P=linux/arm64
FROM --platform=$P user AS a
FROM --platform=${BUILDPLATFORM} a
