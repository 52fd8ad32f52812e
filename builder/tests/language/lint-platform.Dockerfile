FROM --platform=$TARGETPLATFORM alpine
FROM --platform=linux/arm64 alpine
FROM --platform=linux/arm64 alpine AS build-arm64
