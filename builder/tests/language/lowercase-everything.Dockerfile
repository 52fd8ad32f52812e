from alpine
env a=b
run x
copy a b
workdir /w
