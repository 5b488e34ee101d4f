/** The model gateways of one client process, by sandbox. */
import type { BridgeResult } from '../../protocol/bridge.ts';
import type { GatewaySettings } from '../../protocol/gateway.ts';
import type { Connection } from '../connection.ts';
import type { ModelGateway } from './gateway.ts';

export class Gateways {
  private readonly env: NodeJS.ProcessEnv;
  private readonly open = new Map<string, ModelGateway>();

  constructor(env: NodeJS.ProcessEnv) {
    this.env = env;
  }

  async start(helper: Connection, sandbox: string, settings: GatewaySettings): Promise<BridgeResult<'gateway/start'>> {
    const { ModelGateway } = await import('./gateway.ts');
    const known = [...this.open.values()].find((one) => one.sandbox.id === sandbox || one.sandbox.name === sandbox);
    if (known) await this.stop(known.sandbox.id);
    const gateway = await ModelGateway.open(helper, sandbox, settings, { env: this.env });
    this.open.set(gateway.sandbox.id, gateway);
    helper.lost.addEventListener('abort', () => void this.stop(gateway.sandbox.id), { once: true });
    return { sandbox: gateway.sandbox.id, variables: gateway.variables };
  }

  async stop(sandbox: string): Promise<Record<string, never>> {
    for (const [id, gateway] of this.open)
      if (id === sandbox || gateway.sandbox.name === sandbox) {
        this.open.delete(id);
        await gateway.close();
      }
    return {};
  }
}
