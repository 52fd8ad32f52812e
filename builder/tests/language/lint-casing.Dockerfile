From alpine as Build
run a
COPY a b
FROM alpine AS build
FROM alpine AS scratch
cmd ["x"]
