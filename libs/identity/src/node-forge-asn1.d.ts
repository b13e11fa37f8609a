// Only the ASN.1 part of node-forge is loaded: the whole of it costs a proxy memory that it never uses.
declare module 'node-forge/lib/asn1.js' {
  const asn1: typeof import('node-forge').asn1;
  export default asn1;
}
