FROM alpine
COPY --from=late a b
FROM alpine AS late
# test: target=0
