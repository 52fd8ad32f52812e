FROM alpine AS builder
# test: target=bulider
