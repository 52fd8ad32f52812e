# escape=`
FROM alpine
RUN echo a `
  b
ENV P=C:\dir Q=a`$BASE R=`"x`"
