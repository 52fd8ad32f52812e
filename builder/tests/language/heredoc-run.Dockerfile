FROM alpine
RUN <<EOF
echo one
echo $BASE "two"
EOF
RUN <<-EOF
	tabs
		go
	EOF
RUN python3 <<EOF > /out
print("hi")
EOF
RUN <<A cat <<B
a
A
b
B
RUN <<EOF
#!/usr/bin/env python3
print("hello")
EOF
RUN echo $((1 << 2)) "<<no"
RUN ["echo", "<<EOF"]
