# check=experimental=InvalidDefinitionDescription
# the global
ARG A=1
# build compiles
FROM alpine AS build
# something else
ARG B
