//! What `tune` prints as code, compiled: the test beside it compares the two.

#[expect(dead_code, reason = "it is compiled, not run")]
async fn example(nodes: Vec<&str>) -> Result<redlatch::Redlock, redlatch::ConnectError> {
    // begin
    let mut batching = redlatch::Batching::default();
    batching.gather = redlatch::Gather::Always;
    batching.max_commands = 64;
    batching.gather_min_inflight = 2;
    batching.max_bytes = 4096;
    let locks = redlatch::Redlock::builder()
        .nodes(nodes)
        .batching(batching)
        .max_inflight(1024)
        .connect()
        .await?;
    // end
    Ok(locks)
}
