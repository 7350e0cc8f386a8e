module cluster/pods

go 1.26.0
