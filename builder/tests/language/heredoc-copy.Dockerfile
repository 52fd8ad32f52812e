FROM alpine
ENV WHO=world
COPY <<one <<"two" 3<<three /dir/
hello $WHO ${WHO:-x} \$WHO "quoted" 'single $WHO'
one
literal $WHO
two
the third
three
COPY --chmod=0755 <<'run.sh' /bin/run.sh
#!/bin/sh
echo "$@"
run.sh
ADD <<-x /x
	tabbed $BASE
	x
