module cluster/gateway

go 1.26.3

require sigs.k8s.io/gateway-api v1.5.1
