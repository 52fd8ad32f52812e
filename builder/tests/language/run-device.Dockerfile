FROM scratch
ARG NAME=foo
RUN --device=vendor1.com/device=$NAME --device=name=vendor1.com/device,required --device=v.com/c=*,required=false ["/x"]
