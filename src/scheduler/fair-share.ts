/** What one tenant has received, in tokens, and how many of its sequences are waiting or running. */
export type Account = { readonly tenant: string; served: number; live: number };

/** Tenants remembered though they have nothing queued, for what they have had more than others. */
const idleAccountsMax = 1024;

/**
 * Shares the machine evenly among tenants by counting what each was served (Sheng et al. 2024, "Fairness in serving
 * large language models": virtual token counters). The waiting tenant that has had least goes first. One that comes
 * back after a pause gets no credit for it: its counter is lifted to the level at which others are being admitted.
 */
export class FairShare {
  private readonly accounts = new Map<string, Account>();
  private level = 0;

  /** A sequence of `tenant` arrives. */
  open(tenant: string): Account {
    let account = this.accounts.get(tenant);
    if (account === undefined) {
      account = { tenant, served: this.level, live: 0 };
      this.accounts.set(tenant, account);
    } else if (account.live === 0 && account.served < this.level) {
      account.served = this.level;
    }
    account.live++;
    return account;
  }

  /** Its sequence has ended. */
  close(account: Account): void {
    account.live--;
    if (account.live === 0 && (account.served <= this.level || this.accounts.size > idleAccountsMax)) {
      this.accounts.delete(account.tenant);
    }
  }

  /** Its sequence is admitted, and will compute this many prompt tokens. */
  admit(account: Account, tokens: number): void {
    this.level = Math.max(this.level, account.served);
    account.served += tokens;
  }

  get tenantCount(): number {
    return this.accounts.size;
  }
}

/** A sampled token weighs as much as this many prompt tokens: about what it costs on a CPU. */
export const sampledTokenWeight = 4;
