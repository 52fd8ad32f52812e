FROM alpine
ENV one two three  four
ENV A=1 B="two words" C=three\ words D='single $A' E=$A$BASE F=${A}x G="a\"b\$c" H=
ENV PATH=/opt/bin:$PATH
ENV A=2 Z=$A
