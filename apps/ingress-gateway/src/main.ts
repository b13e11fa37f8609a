import { runApp } from '@mizzen/core';
import { ingressGatewayApp } from './ingress-gateway-app.ts';

await runApp(ingressGatewayApp);
