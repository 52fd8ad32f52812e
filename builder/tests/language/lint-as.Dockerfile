FROM alpine as x
from alpine AS y
