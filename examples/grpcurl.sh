#!/bin/sh
# The same server by hand: reflection tells grpcurl what there is. The model is the tutorial's.
#
#     sh examples/grpcurl.sh HOST:PORT
set -eu
server=$1

echo "services:"
grpcurl -plaintext "$server" list
echo "health:"
grpcurl -plaintext "$server" grpc.health.v1.Health/Check
echo "one user, three items:"
grpcurl -plaintext -d @ "$server" tablefold.v1.Tablefold/Predict <<'END'
{
  "model": "clicks",
  "context": [{"name": "user", "texts": {"values": ["u4021"]}}],
  "candidates": [
    {"name": "item", "ids": {"values": [11, 7, 301]}},
    {"name": "price", "numbers": {"values": [9.9, 25.0, 3.5]}},
    {"name": "tags", "texts": {"values": ["sale", "red", "",  "", "", "",  "new", "", ""]}}
  ]
}
END
