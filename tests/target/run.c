/* Runs functions of object files on memory that is read from a file, and writes that memory back.

   The file is a list of 64-bit words and of bytes, as tests/target/foreign.py writes it. */

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Made for each executable: the addresses of the functions that may be called. */
extern void *const functions[];

static FILE *source;

static void must(int fine, const char *what)
{
    if (!fine) {
        fprintf(stderr, "%s\n", what);
        exit(1);
    }
}

static uint64_t word(void)
{
    uint64_t value;
    must(fread(&value, sizeof value, 1, source) == 1, "the file ends early");
    return value;
}

struct block {
    uint64_t size;
    char *bytes;
};

/* Blocks are as far from the start of a page as they were where they come from. */
static struct block read_block(void)
{
    enum { page = 4096 };
    struct block block;
    block.size = word();
    uint64_t offset = word();
    uint64_t whole = (offset + block.size + 2 * page - 1) / page * page;
    char *memory = aligned_alloc(page, whole);
    must(memory != NULL, "no memory");
    block.bytes = memory + offset;
    must(fread(block.bytes, 1, block.size, source) == block.size, "the file ends early");
    return block;
}

typedef void step_function(void *table);
typedef void share_function(void *table, int64_t worker, int64_t workers, void *sync);
typedef void worker_function(void *sync, int64_t worker);

struct share {
    void *function, *table, *sync;
    int64_t worker, workers;
    void *serve; /* what the threads of workers run, where a leader tells them of steps */
};

static void *run_share(void *argument)
{
    struct share *share = argument;
    share_function *function = (share_function *)share->function;
    if (share->serve != NULL)
        ((worker_function *)share->serve)(share->sync, share->worker);
    else
        function(share->table, share->worker, share->workers, share->sync);
    return NULL;
}

/* A step of which every thread runs a share; or a leader and its workers, until it tells them to
   leave. */
static void on_threads(struct share all)
{
    int64_t first = all.serve != NULL;
    pthread_t threads[64];
    struct share shares[64];
    must(all.workers <= 64, "too many workers");
    for (int64_t worker = first; worker < all.workers; worker++) {
        shares[worker] = all;
        shares[worker].worker = worker;
        must(!pthread_create(&threads[worker], NULL, run_share, &shares[worker]), "no thread");
    }
    if (all.serve != NULL) {
        ((step_function *)all.function)(all.table);
        __atomic_store_n((int64_t *)all.sync, -1, __ATOMIC_RELEASE);
    }
    for (int64_t worker = first; worker < all.workers; worker++)
        pthread_join(threads[worker], NULL);
}

static void run_job(FILE *target)
{
    uint64_t count = word();
    struct block *blocks = calloc(count + 1, sizeof *blocks);
    must(blocks != NULL, "no memory");
    for (uint64_t i = 0; i < count; i++)
        blocks[i] = read_block();
    for (uint64_t left = word(); left > 0; left--) { /* addresses of blocks */
        uint64_t block = word(), place = word(), to = word(), offset = word();
        char *address = blocks[to].bytes + offset;
        memcpy(blocks[block].bytes + place, &address, sizeof address);
    }
    for (uint64_t left = word(); left > 0; left--) { /* addresses of functions */
        uint64_t block = word(), place = word(), function = word();
        memcpy(blocks[block].bytes + place, &functions[function], sizeof(void *));
    }
    for (uint64_t left = word(); left > 0; left--) { /* calls */
        void *function = functions[word()];
        char *table = blocks[word()].bytes;
        uint64_t workers = word();
        if (workers == 0) {
            ((step_function *)function)(table);
        } else {
            struct share all = {function, table, blocks[word()].bytes, 0, (int64_t)workers, NULL};
            uint64_t serve = word(); /* one more than the number of the function, or 0 */
            if (serve != 0)
                all.serve = functions[serve - 1];
            on_threads(all);
        }
    }
    for (uint64_t i = 0; i < count; i++) {
        must(fwrite(blocks[i].bytes, 1, blocks[i].size, target) == blocks[i].size, "no room");
    }
}

int main(int count, char **names)
{
    must(count == 3, "usage: run SOURCE TARGET");
    source = fopen(names[1], "rb");
    FILE *target = fopen(names[2], "wb");
    must(source != NULL && target != NULL, "no such file");
    for (uint64_t left = word(); left > 0; left--)
        run_job(target);
    must(!fclose(target), "no room");
    return 0;
}
