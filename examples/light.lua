-- SPDX-License-Identifier: MIT
-- For wrk: each connection sends a request, waits for the answer, then for `pause_ms`; at the end
-- one line with what was measured. wrk itself corrects the latencies for coordinated omission.

local pause_ms = 20

function delay()
    return pause_ms
end

function done(summary, latency)
    local errors = summary.errors
    io.write(string.format("result %.3f %.3f %d %d\n", latency:percentile(50) / 1000,
        latency:percentile(99) / 1000, summary.requests,
        errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
