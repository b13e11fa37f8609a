export { ingressGatewayApp, ingressGatewaySettings } from './ingress-gateway-app.ts';
