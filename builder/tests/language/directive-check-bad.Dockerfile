# check=skipp=all
FROM alpine
