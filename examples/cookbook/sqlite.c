/* SPDX-License-Identifier: MIT */
/*
 * sqlite: each worker has a connection and a prepared statement of its own, which the pool's `init`
 * opens and its `fini` closes. So no query waits for another's lock.
 */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "strait.h"

#define QUERIES 900
#define TABLE "CREATE TABLE price (item, cents); INSERT INTO price VALUES (0, 5), (1, 7), (2, 9)"

static int64_t sum;

static int open_handle(unsigned worker, void **data, void *path) /* not 0: no pool */
{
    sqlite3 *db;
    sqlite3_stmt *price = NULL;
    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL) ||
        sqlite3_prepare_v2(db, "SELECT cents FROM price WHERE item = ?", -1, &price, NULL)) {
        fprintf(stderr, "worker %u: %s\n", worker, sqlite3_errmsg(db));
        sqlite3_close(db);
        return -EIO;
    }
    *data = price;
    return 0;
}

static void close_handle(unsigned worker, void *data, void *path)
{
    sqlite3 *db = sqlite3_db_handle(data);
    (void)worker, (void)path;
    sqlite3_finalize(data);
    sqlite3_close(db);
}

static int query(struct strait_task *task) /* on a worker */
{
    sqlite3_stmt *price = strait_pool_data();
    int64_t n;
    memcpy(&n, task->data, sizeof(n));
    sqlite3_bind_int64(price, 1, n % 3);
    n = sqlite3_step(price) == SQLITE_ROW ? sqlite3_column_int64(price, 0) : 0;
    memcpy(task->data, &n, sizeof(n));
    return sqlite3_reset(price) ? -EIO : 0; /* and it keeps no read lock */
}

static void answer(struct strait_task *task)
{
    int64_t n;
    memcpy(&n, task->data, sizeof(n));
    sum += n;
}

int main(void)
{
    char path[] = "/tmp/price.XXXXXX";
    struct strait_pool_options options = {
        .init = open_handle, .fini = close_handle, .context = path};
    struct strait_pool *pool;
    struct strait_parent *parent; /* this thread, as the pool knows it */
    sqlite3 *db;
    int fd = mkstemp(path);
    if (fd < 0 || close(fd) || sqlite3_open(path, &db) ||
        sqlite3_exec(db, TABLE, NULL, NULL, NULL) || sqlite3_close(db) ||
        strait_pool_create(&pool, &options) || strait_pool_attach(pool, &parent, NULL)) {
        return EXIT_FAILURE;
    }
    for (int64_t n = 0; n < QUERIES; n++) {
        struct strait_task task = {.run = query, .name = "query", .done = answer};
        memcpy(task.data, &n, sizeof(n));
        strait_task_submit_wait(parent, &task, NULL, NULL, STRAIT_FOREVER);
    }
    int error = strait_pool_finish(pool, parent, STRAIT_CLOSE_DRAIN, STRAIT_FOREVER);
    printf("%d queries: %lld cents\n", QUERIES, (long long)sum);
    return unlink(path) || error || sum != QUERIES / 3 * (5 + 7 + 9);
}
