#!/bin/sh
# balancer -> two gateways -> balancer -> services
cd "$(dirname "$0")" && exec sh ../run.sh service-1 service-2 inner redis@127.0.0.1:6390 gateway-1 gateway-2 front
