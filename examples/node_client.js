// The same server from Node, by the committed .proto file. The model is the tutorial's.
//
//     npm install @grpc/grpc-js @grpc/proto-loader
//     node examples/node_client.js HOST:PORT [PROTO]
const grpc = require("@grpc/grpc-js");
const { loadSync } = require("@grpc/proto-loader");

const [server, proto = `${__dirname}/../protos/tablefold.proto`] = process.argv.slice(2);
if (!server) {
  console.error("usage: node node_client.js HOST:PORT [PROTO]");
  process.exit(2);
}
// longs: 64-bit ids do not fit JavaScript's numbers; give and read them as texts.
const { v1 } = grpc.loadPackageDefinition(loadSync(proto, { longs: String })).tablefold;
const client = new v1.Tablefold(server, grpc.credentials.createInsecure());

const request = {
  model: "clicks",
  context: [{ name: "user", texts: { values: ["u4021"] } }],
  candidates: [
    { name: "item", ids: { values: ["11", "7", "301"] } },
    { name: "price", numbers: { values: [9.9, 25.0, 3.5] } },
    // Three slots an item, row by row; an empty text is no value.
    { name: "tags", texts: { values: ["sale", "red", "", "", "", "", "new", "", ""] } },
  ],
};
client.Predict(request, { deadline: Date.now() + 10_000 }, (error, reply) => {
  client.close();
  if (error) {
    console.error(error.message);
    process.exit(1);
  }
  reply.probability.forEach((value, item) => console.log(`item ${item}: ${value.toFixed(4)}`));
  console.log(`version ${reply.version}`);
});
