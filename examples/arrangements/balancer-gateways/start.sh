#!/bin/sh
# balancer -> two gateways -> services
cd "$(dirname "$0")" && exec sh ../run.sh service-1 service-2 redis@127.0.0.1:6390 gateway-1 gateway-2 balancer
