FROM alpine AS 9to5
