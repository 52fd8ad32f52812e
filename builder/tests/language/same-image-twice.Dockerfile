FROM alpine AS a
RUN one
FROM alpine AS b
COPY --from=a /x /x
COPY --from=alpine /y /y
