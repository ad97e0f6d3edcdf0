#!/bin/sh
# gateway -> balancer -> services
cd "$(dirname "$0")" && exec sh ../run.sh service-1 service-2 balancer gateway
